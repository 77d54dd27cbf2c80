"""The report: one page that shows what a job made, to be read, listened to and printed without a network."""
