"""The tests of the wire: one file per dialect, and one for what both share."""
