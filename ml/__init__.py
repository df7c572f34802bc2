"""Training, evaluating and serving Firstlook's models. Knows nothing of the web, SQL or queues."""
