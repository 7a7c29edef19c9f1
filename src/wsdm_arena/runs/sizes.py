"""Numbers of bytes, for people."""

_UNITS = ("B", "kB", "MB", "GB", "TB")


def show_bytes(num_bytes: float) -> str:
    """Write a number of bytes in units of 1,000, as disks are sold.

    Example:
        >>> show_bytes(1_500_000_000), show_bytes(999), show_bytes(0)
        ('1.5 GB', '999 B', '0 B')
    """
    if abs(num_bytes) < 1_000:
        return f"{num_bytes:.0f} B"
    size, unit = float(num_bytes), 0
    # what would be rounded to 1,000.0 of a unit is 1.0 of the next one
    while abs(round(size, 1)) >= 1_000 and unit < len(_UNITS) - 1:
        size, unit = size / 1_000, unit + 1
    return f"{size:,.1f} {_UNITS[unit]}"
