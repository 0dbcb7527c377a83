"""An exchange simulator that speaks the BingX USDT perpetual wire. It knows nothing of the desk."""
