"""Tasks that do something at Together."""
