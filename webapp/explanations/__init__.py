"""Why an answer is what it is: where the model looked, as a row that is work like an assessment."""
