"""Where observations come from: one module for each witness."""
