"""What a person looks at: charts and one self-contained page."""
