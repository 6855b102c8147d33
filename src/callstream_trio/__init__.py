"""A thin Trio shell around callstream_core."""
