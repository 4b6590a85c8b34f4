"""The choice of which worker runs which call, and when: pure state. Events go in, actions come out."""
