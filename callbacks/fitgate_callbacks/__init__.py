"""The Lightning side: thin hooks that call the core."""
