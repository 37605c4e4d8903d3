//! Artifact -> table and JSON.
