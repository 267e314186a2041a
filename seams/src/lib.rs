//! What an application adds: a seam between controllers and storage, and events.
