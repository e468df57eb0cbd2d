"""The experiments of Wiedemann and Heckel 2024 on their own data, each by one command."""
