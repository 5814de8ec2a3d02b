"""A tap as the Singer SDK's template makes it: one page after the other, everything else the SDK's default."""
