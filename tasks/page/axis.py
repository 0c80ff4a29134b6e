"""The size of a picture on the page, and where its time axis lies: for those that draw and for the page's script."""

WIDTH_IN = 4.4
DPI = 200
PLOT = (0.095, 0.965)
"""Left and right end of the time axis, as shares of a picture's width."""
