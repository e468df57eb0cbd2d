"""What a verb starts from, opened and checked."""
