"""What a recording is before it is a take: folders, layouts, devices, copies, prints, and take.yaml."""
