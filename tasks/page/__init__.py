"""The report page: templates and figures."""
