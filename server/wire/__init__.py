"""What goes over the wire: requests, answers, errors, headers, media types."""
