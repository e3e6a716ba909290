"""Models on their way to other programs and formats: what exporters share. Imported when one is asked for."""
