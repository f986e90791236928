"""Rules on what requests ask and answers say."""
