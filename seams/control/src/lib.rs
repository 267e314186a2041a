//! The control store: route tables, epochs, leases, acknowledgements, audit.
