"""Records to text, pictures and pages; reads nothing but records."""
