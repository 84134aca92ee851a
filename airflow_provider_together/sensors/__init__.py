"""Tasks that wait for something at Together."""
