"""Sans-IO protocol engines for phone audio over WebSockets."""
