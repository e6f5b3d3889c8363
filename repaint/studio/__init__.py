"""The browser app: load pictures, paint holes, watch runs, branch kept states, and audit results."""
