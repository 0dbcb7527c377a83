"""Where signals come from: clients of other people's services."""
