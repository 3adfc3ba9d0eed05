"""What puts it together: settings, identities, HTTP, and the command line."""
