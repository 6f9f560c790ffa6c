"""An exported file as a small HTTP service: pictures in, classes out, within stated limits."""
