"""External features: tables and folders of arrays that were made elsewhere, with one entry per clip."""
