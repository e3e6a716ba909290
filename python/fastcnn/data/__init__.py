"""From what users hand over to what the native side reads."""
