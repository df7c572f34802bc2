"""What programs ask for: cases, results and decisions as JSON, through what the pages use."""
