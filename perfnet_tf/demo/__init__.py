"""The whole job on generated videos: from pixels to teachers, students, a SavedModel, a report."""
