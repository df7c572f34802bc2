"""The web application: accounts, cases, the queue of assessments, and the pages that show them."""
