"""The browser app: pictures in, a hole painted by hand, runs watched, kept states branched, results audited."""
