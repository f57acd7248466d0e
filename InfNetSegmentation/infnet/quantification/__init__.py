"""What was found, in figures: measurements, studies on disk, and change from study to study."""
