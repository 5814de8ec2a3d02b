"""One self-contained HTML page of the marts."""
