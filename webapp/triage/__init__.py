"""What a clinician sees: new case, worklist, case page, patient page."""
