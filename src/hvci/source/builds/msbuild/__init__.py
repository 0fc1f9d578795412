"""Visual Studio solutions and projects, evaluated for one configuration."""
