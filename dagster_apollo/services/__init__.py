"""The production processes other than the webserver, and what all three of them share."""
