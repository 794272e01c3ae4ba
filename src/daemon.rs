//! Wires the parts; lifetime and signals.
