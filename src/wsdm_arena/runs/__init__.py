"""What has been done, from what: fingerprints that name a piece of work."""
