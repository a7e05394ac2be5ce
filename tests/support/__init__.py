"""What the tests stand on: private database servers and the places made on them."""
