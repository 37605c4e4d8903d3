//! Helpers of the test suites: where models and data are, and how to skip without them.
