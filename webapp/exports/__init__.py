"""What leaves Firstlook: a case's report on a page, and a list of cases as a table."""
