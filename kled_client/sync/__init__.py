"""The laptop's end of file sync: which places, how to reach their endpoints, what people see."""
