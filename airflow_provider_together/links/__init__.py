"""Buttons of the UI that lead to Together."""
