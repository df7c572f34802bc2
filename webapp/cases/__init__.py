"""Patients, their cases, and the images of a case."""
