"""Reports of a finished study, as a page for the browser and as PDF."""
