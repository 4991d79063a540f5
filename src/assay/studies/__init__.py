"""Many runs under one plan."""
