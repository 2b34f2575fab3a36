"""One session between two stores: initiator, responder, and the channel between them."""
