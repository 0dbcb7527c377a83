"""freqtrade's REST interface over this desk: field names, units and log-in that its tools speak."""
