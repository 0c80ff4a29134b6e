"""What a recording is before it is a take: folders, layouts, devices, copies, prints, and what take.yaml says."""
