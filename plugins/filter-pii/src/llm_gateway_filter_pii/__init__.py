"""Personal data in prompts and in what is kept: found, counted, masked, put back."""
